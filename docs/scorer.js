// The order of search results; Sphinx puts this into its search page.
var asked = (new URLSearchParams(location.search).get("q") || "").trim().toLowerCase();

var Scorer = {
  score: ([page, title, anchor, description, score]) => {
    // Why things are as they are is not what a search is for.
    if (/^(decisions|project)\//.test(page)) score -= 40;
    // A row of the reference that is called exactly so.
    if (anchor && title.toLowerCase() === asked.replace(/^--/, "")) score += 60;
    if (/^WSREDIS_/.test(title) && !/^wsredis_/.test(asked)) score -= 10;
    return score;
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};

/**
 * Ask the application.
 * @throws Error with its reason. Its property `status` is the status of HTTP.
 */
export async function ask(path, body) {
  const response = await fetch(`/api/${path}`, body && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (response.ok) return response.status === 200 ? response.json() : null;
  const { detail } = await response.json();
  throw Object.assign(new Error(detail), { status: response.status });
}

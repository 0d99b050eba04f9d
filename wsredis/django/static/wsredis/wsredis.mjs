// The same for `import`: a file with `export` in it could not be a classic script as well.
import "./wsredis.js";
export const { WS4Redis } = globalThis;

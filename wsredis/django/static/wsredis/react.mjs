import { useCallback, useEffect, useRef, useState } from "react";
import { NOTHING, follow, key_of } from "./following.mjs";

/** See react.d.mts. */
export function useWsredis(options) {
  const [shown, show] = useState(NOTHING);
  const latest = useRef(options);
  const link = useRef(null);
  const key = key_of(options);

  useEffect(() => {
    latest.current = options;
  });

  useEffect(() => {
    show(NOTHING);
    if (!key) return undefined;
    const update = (fields) => show((before) => ({ ...before, ...fields }));
    const mine = follow(() => latest.current, update);
    link.current = mine;
    return () => {
      link.current = null;
      mine.close();
    };
  }, [key]);

  const send = useCallback((message) => {
    if (!link.current) throw new Error("useWsredis: not connected to anything");
    link.current.send(message);
  }, []);

  return { ...shown, send };
}

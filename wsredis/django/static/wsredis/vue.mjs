import {
  getCurrentInstance, getCurrentScope, onMounted, onScopeDispose, shallowRef, toValue, watch,
} from "vue";
import { NOTHING, follow, key_of } from "./following.mjs";

/** See vue.d.mts. */
export function useWsredis(options) {
  const names = Object.keys(NOTHING);
  const fields = Object.fromEntries(names.map((name) => [name, shallowRef(NOTHING[name])]));
  const update = (change) => {
    for (const name in change) fields[name].value = change[name];
  };
  let link = null;
  let unwatch = null;

  function end() {
    if (link) link.close();
    link = null;
    update(NOTHING);
  }

  function begin() {
    unwatch = watch(() => key_of(toValue(options)), (key) => {
      end();
      if (key) link = follow(() => toValue(options), update);
    }, { immediate: true });
  }

  // Not on a server that only renders.
  if (getCurrentInstance()) onMounted(begin);
  else begin();
  if (getCurrentScope()) {
    onScopeDispose(() => {
      if (unwatch) unwatch();
      end();
    });
  }

  function send(message) {
    if (!link) throw new Error("useWsredis: not connected to anything");
    link.send(message);
  }

  return { ...fields, send };
}

import { createApp, defineComponent, h, ref } from "vue";
import { useWsredis } from "wsredis/vue";
import Chat from "./Chat.vue";

const facility = ref<string | null>(null);
Object.assign(window, {
  setFacility(name: string | null) {
    facility.value = name;
  },
});

/** A component whose options change, and that comes and goes. */
const Changing = defineComponent({
  setup() {
    const count = ref(0);
    const { state, detail, hello, messages, send } = useWsredis(
      () =>
        facility.value !== "" && {
          facility: facility.value ?? "",
          subscribe: "broadcast",
          publish: "broadcast",
          receive_message: () => {
            count.value += 1;
          },
          keep: 2,
        },
    );
    return () =>
      h("output", { id: "changing" }, [
        JSON.stringify({
          facility: facility.value,
          state: state.value,
          transport: detail.value.transport,
          count: count.value,
          messages: messages.value,
        }),
        h("b", hello.value?.subscribe.join()),
        h("button", { onClick: () => send("from " + facility.value) }, "Send"),
      ]);
  },
});

createApp({
  render: () => [h(Chat), facility.value === null ? null : h(Changing)],
}).mount("#app");

import react from "@vitejs/plugin-react"; // or: import vue from "@vitejs/plugin-vue";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()], // or: [vue()]
  // What the browser asks Vite for below /ws/, the gateway answers: to the browser it is one site.
  server: { proxy: { "/ws/": { target: "http://127.0.0.1:8080", ws: true } } },
});

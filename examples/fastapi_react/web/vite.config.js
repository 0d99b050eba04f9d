import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The page comes from Vite, and all else from the gateway: for the browser both are one site.
const target = "http://localhost:8000";

export default defineConfig({
  plugins: [react()],
  server: { proxy: { "/api/": { target }, "/ws/": { target, ws: true } } },
});

// SPDX-License-Identifier: Apache-2.0
// Swagger UI on this server's own description; "Try it out" works with the log-in of this browser.
"use strict";

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

window.addEventListener("DOMContentLoaded", () => {
  const place = document.getElementById("swagger");
  window.SwaggerUIBundle({
    url: place.dataset.url,
    domNode: place,
    deepLinking: true,
    validatorUrl: null, // the default asks a public service
    docExpansion: "none",
    requestInterceptor: (request) => {
      if (place.dataset.csrf) request.headers["X-CSRF-Token"] = place.dataset.csrf;
      return request;
    },
  });
});

import "swagger-ui-dist/swagger-ui.css";
import SwaggerUI from "swagger-ui-dist/swagger-ui-es-bundle.js";

/** The API reference: shows /openapi.json in Swagger UI. */
SwaggerUI({
  url: "openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
  // Otherwise Swagger UI would send the document to a validator on the internet.
  validatorUrl: null,
  plugins: [onlyRequests],
});

/** Hides "Try it out" for the operations that open a WebSocket, because Swagger UI sends only HTTP requests. */
function onlyRequests(): object {
  return { statePlugins: { spec: { wrapSelectors: { allowTryItOutFor: () => isRequest } } } };
}

function isRequest(_: unknown, path: string): boolean {
  return !path.endsWith("/socket") && !path.startsWith("/rt/");
}

import "swagger-ui-dist/swagger-ui.css";
import SwaggerUI from "swagger-ui-dist/swagger-ui-es-bundle.js";

/** The API reference: what /openapi.json says, to read and to try. */
SwaggerUI({
  url: "openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
  // Else the document would be shown to a validator on the internet.
  validatorUrl: null,
  plugins: [onlyRequests],
});

/** Offers "Try it out" for each operation but those that open a WebSocket, which a request of a page cannot do. */
function onlyRequests(): object {
  return { statePlugins: { spec: { wrapSelectors: { allowTryItOutFor: () => isRequest } } } };
}

function isRequest(_: unknown, path: string): boolean {
  return !path.endsWith("/socket") && !path.startsWith("/rt/");
}

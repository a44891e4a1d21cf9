// An AsyncAPI document on standard input -> what @asyncapi/parser finds in it, and finds wrong with it, as JSON.
const { Parser } = require("@asyncapi/parser");
const { readFileSync } = require("node:fs");

const WARNING = 1; // severities of Spectral: error 0, warning 1, information 2, hint 3

new Parser().parse(readFileSync(0, "utf-8")).then(({ document, diagnostics }) => {
  const wrong = diagnostics.filter((d) => d.severity <= WARNING).map((d) => `${d.path.join(".")}: ${d.message}`);
  const names = (found) => found.all().map((one) => one.id());
  console.log(
    JSON.stringify({
      diagnostics: wrong,
      messages: document ? names(document.components().messages()) : [],
      operations: document ? names(document.operations()) : [],
    }),
  );
});

// Each file is a table of hostile input. They share one Workers runtime, because starting one costs more than running a table.
import "./tokens.ts";
import "./origins.ts";
import "./names.ts";
import "./json.ts";
import "./frames.ts";

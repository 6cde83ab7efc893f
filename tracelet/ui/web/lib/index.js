// The import map needs an entry of this name; everything is imported by its own file.
export * from "tracelet-web/dom.js";

// Live updates change the page in place: what a person has opened, focused or typed stays as it is.
"use strict";

Object.assign(Idiomorph.defaults.callbacks, {
  beforeAttributeUpdated(name, node) {
    // The server sends details closed, and charts hidden, which need the script that draws them.
    return !(name === "open" && node.matches("details")) && !(name === "hidden" && node.matches(".chart, .legend"));
  },
  beforeNodeMorphed(node) {
    if (node.nodeType !== Node.ELEMENT_NODE) {
      return true;
    }
    // Within a chart are the script's own elements. A form in which a person is choosing is left alone.
    return !node.matches(".chart") && !(node.matches("form") && node.contains(document.activeElement));
  },
});

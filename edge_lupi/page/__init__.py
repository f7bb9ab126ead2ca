"""The live page: what a listener says, in a browser, and what the browser may ask of it."""

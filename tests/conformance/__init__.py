"""Runs the NIST XDS Toolkit tests of a kit outside this tree against a node with docs/examples/conformance."""

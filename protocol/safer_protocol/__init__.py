"""The SaFeR-ToolKit protocol: tools, plan, trace, answer; one printer, one parser, one verifier."""

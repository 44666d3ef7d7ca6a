"""On which days markets are open and trades settle. Pure values, for sources, flows and pages alike."""

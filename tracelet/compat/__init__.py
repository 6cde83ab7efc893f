"""For programs written for another telemetry library: its names, on top of tracelet."""

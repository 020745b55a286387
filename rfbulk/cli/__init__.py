"""The command line: parses, calls, prints, exits. One noun or verb a module, loaded when it is used."""

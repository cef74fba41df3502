"""The commands, a module each; `cli` imports one when it is called."""

"""The `semblance` command, and the subcommands that talk to the service."""

"""The commands of `innsyn`, one file per word; each imports what it runs only when it runs."""

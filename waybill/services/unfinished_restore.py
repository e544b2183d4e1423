"""The mark of a home that is being restored; apart from the backups, so that every command can look for it quickly."""

# In the home. Where it stays, the restore was killed, and the home is not to be used.
UNFINISHED_RESTORE = "unfinished-restore"

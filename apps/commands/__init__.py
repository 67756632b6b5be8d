"""The commands of `trackime-apps`, a file each."""

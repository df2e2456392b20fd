"""Parts of feedback: judges that compare outputs, and people."""

"""Access: who asks, what they may see, and how what must stay secret is sealed. Rules only; rows live in the store."""

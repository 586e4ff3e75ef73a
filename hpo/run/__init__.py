"""The hands: whatever carries out what the Director decides."""

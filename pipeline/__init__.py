"""One conversation: text -> speech -> mouths -> frames -> packets. Knows no HTTP."""

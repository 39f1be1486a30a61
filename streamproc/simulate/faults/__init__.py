"""Every oddity that real streams have, on request and counted."""

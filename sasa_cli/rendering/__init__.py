"""Tables, figures and documents as text: what reports, counts and bench print with. Imports no torch."""

"""From evidence to tables, figures and sentences."""

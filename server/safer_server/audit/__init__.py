"""The audit log: every closed case leaves one signed record, in a spool first and then in a database."""

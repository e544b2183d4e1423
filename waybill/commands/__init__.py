"""The commands: one module per group, which reads arguments, calls services or blocks, and prints.

`waybill.cli` names every command and loads its module when it runs, so nothing is exported here. What several commands
share is in `arguments` (what people type), `session` (stack, catalogue and custody for one command) and `output`
(tables, JSON, progress). A command imports heavy libraries inside its function. No other package imports a command.
"""

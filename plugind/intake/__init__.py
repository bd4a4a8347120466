"""The writer: plans each change, has it stored, and answers once it is durable."""

from plugind.intake.intake import Accepted, Intake, Pending

__all__ = ["Accepted", "Intake", "Pending"]

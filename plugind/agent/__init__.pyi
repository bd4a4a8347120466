from plugind.agent.agent import Agent as Agent
from plugind.agent.supervisor.orphans import Orphans as Orphans

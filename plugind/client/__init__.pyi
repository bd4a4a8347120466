from plugind.client.client import ACKNOWLEDGEMENT_MAXIMUM as ACKNOWLEDGEMENT_MAXIMUM
from plugind.client.client import Answer as Answer
from plugind.client.client import Client as Client
from plugind.client.names import DEFAULT_ADDRESS as DEFAULT_ADDRESS
from plugind.client.names import NODE_SECRET_HEADER as NODE_SECRET_HEADER
from plugind.client.tls import Tls as Tls

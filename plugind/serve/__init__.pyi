from plugind.serve.application import create_app as create_app
from plugind.serve.asgi_application import create_asgi as create_asgi
from plugind.serve.services import Services as Services
from plugind.serve.wiring import waitress_server as waitress_server

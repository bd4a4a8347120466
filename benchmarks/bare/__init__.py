"""Yardsticks: the least work with which a WSGI or ASGI function can give the same answer.

Each module has ``wsgi`` for waitress, and ``asgi`` for granian and uvicorn.
"""

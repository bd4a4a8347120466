"""Yardsticks: the least that a WSGI or ASGI function can do for the same answer.

Each module has ``wsgi`` for waitress, and ``asgi`` for granian and uvicorn.
"""

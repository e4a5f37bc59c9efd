"""Pages of HTML that stand where an answer was expected."""

from __future__ import annotations

__all__ = ["BAD_GATEWAY", "DASHBOARD", "LOGIN"]

BAD_GATEWAY = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    "<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n"
    "</body>\r\n</html>\r\n"
)
"""A proxy whose upstream is gone."""

LOGIN = (
    '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Sign in</title></head>\n'
    '<body>\n<form method="post" action="/login">\n<h1>Sign in</h1>\n'
    '<input name="username"><input name="password" type="password">\n'
    "<button>Sign in</button>\n</form>\n</body>\n</html>\n"
)
"""A proxy that wants a person to sign in first."""

DASHBOARD = (
    '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Console</title></head>\n'
    "<body>\n<noscript>You need to enable JavaScript to run this app.</noscript>\n"
    '<div id="root"></div>\n</body>\n</html>\n'
)
"""A gateway's own web app, which is given out for every path that is not an API's."""

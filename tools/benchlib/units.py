"""How figures are written."""

# Of a unit: what its CPU is multiplied with, and how that is written; how its rate is.
UNITS = {
    "GiB": (1e3, "{:.0f} ms/GiB", "{:.2f} GiB/s"),
    "request": (1e6, "{:.1f} µs/request", "{:,.0f} requests/s"),
    "exchange": (1e6, "{:.1f} µs/exchange", "{:,.0f} exchanges/s"),
    "connection": (1e6, "{:.1f} µs/connection", "{:,.0f} connections/s"),
    "datagram": (1e6, "{:.2f} µs/datagram", "{:,.0f} datagrams/s"),
    "query": (1e6, "{:.2f} µs/query", "{:,.0f} queries/s"),
    "session": (1e6, "{:.2f} µs/session", "{:,.0f} sessions/s"),
}


def cost(unit, cpu):
    scale, text, _ = UNITS[unit]
    return text.format(cpu * scale) if cpu else "–"


def rate(unit, value):
    return UNITS[unit][2].format(value) if value else "–"


def latency(seconds):
    if seconds is None:
        return "–"
    return f"{seconds * 1e6:.1f} µs" if abs(seconds) < 1e-3 else f"{seconds * 1e3:.2f} ms"


def number(value, text="{:,.0f}"):
    return "–" if value is None else text.format(value)

"""Rules of the services that JSON Schema cannot express. Schemathesis takes the values that it
generates from the OpenAPI documents; these hooks leave out the few that only such a rule decides."""

import schemathesis

MAX_UID_BYTES = 100
MAX_SUM = 2**63 - 1
LONG_WAIT_MS = 100


def texts(value):
    """Yields all texts inside a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from texts(item)


def has_clear_lengths(value):
    """Lengths are limited in bytes of UTF-8, and JSON Schema counts characters. A text is clear if
    both agree, or if it is shorter than every limit."""
    for text in texts(value):
        length = len(text.encode("utf-8", "surrogatepass"))
        if length != len(text) and length > MAX_UID_BYTES:
            return False
    return True


def whole(value):
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return max(value, 0) if is_number else 0


def has_clear_sums(order):
    """The sums of an order must fit into 64 bits."""
    if isinstance(order, list):
        return all(has_clear_sums(one) for one in order)
    if not isinstance(order, dict):
        return True
    payment, items = order.get("payment"), order.get("items")
    if isinstance(payment, dict):
        parts = (payment.get(name) for name in ("goods_total", "delivery_cost", "custom_fee"))
        if sum(map(whole, parts)) > MAX_SUM:
            return False
    if isinstance(items, list):
        prices = (item.get("total_price") for item in items if isinstance(item, dict))
        if sum(map(whole, prices)) > MAX_SUM:
            return False
    return True


def has_clear_numbers(value):
    """The services take 1.0 for a fraction, and JSON Schema for a whole number."""
    if isinstance(value, float):
        return not value.is_integer()
    if isinstance(value, dict):
        value = list(value.values())
    return not isinstance(value, list) or all(map(has_clear_numbers, value))


@schemathesis.hook
def filter_path_parameters(context, path_parameters):
    return has_clear_lengths(path_parameters)


@schemathesis.hook
def filter_body(context, body):
    return has_clear_lengths(body) and has_clear_numbers(body) and has_clear_sums(body)


@schemathesis.hook
def map_query(context, query):
    """Shortens valid waits, so that the run does not take minutes."""
    wait = (query or {}).get("wait")
    if isinstance(wait, str) and wait.removesuffix("s").isascii():
        digits = wait.removesuffix("s").removesuffix("m")
        unit = 1 if wait.endswith("ms") else 1000
        if digits.isdigit() and LONG_WAIT_MS < int(digits) * unit <= 30_000 and len(digits) <= 5:
            query["wait"] = f"{LONG_WAIT_MS}ms"
    return query

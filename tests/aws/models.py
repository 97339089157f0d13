"""Requests as the service models of botocore have them, and what in them is wrong."""

import re
from datetime import datetime

import botocore.session
from botocore.validate import ParamValidator

SESSION = botocore.session.get_session()
MODELS = {}


class Violation(Exception):
    """A request that the real service would not take."""


def model(service):
    if service not in MODELS:
        MODELS[service] = SESSION.get_service_model(service)
    return MODELS[service]


def limits(shape, value, where):
    """What the validator of botocore lets pass: values that an enumeration does not have, and what
    is too long, too large or not of the pattern."""
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    size = value if shape.type_name in ("integer", "long") else None
    if shape.type_name in ("string", "list"):
        size = len(value)
    if size is not None and (least is not None and size < least or most is not None and size > most):
        yield f"{where}: {size} is not within {least} and {most}"
    pattern = shape.metadata.get("pattern")
    if shape.type_name == "string" and pattern and not re.fullmatch(pattern, value):
        yield f"{where}: {value!r} is not as {pattern}"
    if shape.type_name == "structure":
        for name, member in value.items():
            yield from limits(shape.members[name], member, f"{where}.{name}")
    elif shape.type_name == "list":
        for index, member in enumerate(value):
            yield from limits(shape.member, member, f"{where}[{index}]")
    elif shape.type_name == "string" and getattr(shape, "enum", None):
        if value not in shape.enum:
            yield f"{where}: {value!r} is none of {shape.enum}"


def problems(service, operation, parameters):
    """What is wrong with the parameters of an operation."""
    shape = model(service).operation_model(operation).input_shape
    if shape is None:
        return []
    report = ParamValidator().validate(parameters, shape)
    if report.has_errors():
        return [f"{operation}: {report.generate_report()}"]
    return list(limits(shape, parameters, operation))


def checked(service, operation, parameters):
    found = problems(service, operation, parameters)
    if found:
        raise Violation("; ".join(found))
    return parameters


def ec2(form):
    """The parameters of a request to EC2, which come as a flat form."""
    rest = {key: value for key, value in form.items() if key not in ("Action", "Version")}
    operation = form["Action"]
    shape = model("ec2").operation_model(operation).input_shape
    parameters = structure(shape, "", rest)
    if rest:
        raise Violation(f"{operation}: it has no parameters {sorted(rest)}")
    return checked("ec2", operation, parameters)


def structure(shape, prefix, rest):
    result = {}
    for name, member in shape.members.items():
        serialization = member.serialization
        key = serialization.get("queryName")
        if key is None:
            key = serialization.get("name", name)
            key = key[0].upper() + key[1:]
        value = member_value(member, f"{prefix}{key}", rest)
        if value is not None:
            result[name] = value
    return result


def member_value(shape, key, rest):
    if shape.type_name in ("structure", "list"):
        if not any(name == key or name.startswith(f"{key}.") for name in rest):
            return None
        if shape.type_name == "structure":
            return structure(shape, f"{key}.", rest)
        result = []
        while True:
            value = member_value(shape.member, f"{key}.{len(result) + 1}", rest)
            if value is None:
                return result
            result.append(value)
    if key not in rest:
        return None
    return scalar(shape, rest.pop(key), key)


def scalar(shape, text, key):
    try:
        if shape.type_name in ("integer", "long"):
            return int(text)
        if shape.type_name in ("float", "double"):
            return float(text)
        if shape.type_name == "boolean":
            return {"true": True, "false": False}[text]
        if shape.type_name == "timestamp":
            return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except (KeyError, ValueError):
        raise Violation(f"{key}: {text!r} is no {shape.type_name}") from None
    return text


def rest(service, method, path, query, headers, body):
    """The operation and parameters of a request to a service that is known by paths."""
    for operation in model(service).operation_names:
        spec = model(service).operation_model(operation)
        pattern = spec.http["requestUri"].split("?")[0]
        pattern = re.sub(r"\{(\w+)\+?\}", r"(?P<\1>[^/]+)", pattern)
        match = re.fullmatch(pattern, path)
        if spec.http["method"] == method and match:
            break
    else:
        raise Violation(f"{method} {path} is no operation of {service}")
    found = dict(match.groupdict())
    found.update(query)
    found.update({key.lower(): value for key, value in headers.items()})
    parameters = dict(body)
    for name, member in spec.input_shape.members.items():
        location = member.serialization
        if location.get("location") in ("uri", "querystring", "header"):
            key = location["name"]
            key = key.lower() if location["location"] == "header" else key
            if key in found:
                parameters[name] = scalar(member, found[key], name)
        elif spec.input_shape.serialization.get("payload") == name:
            parameters[name] = b""
    return operation, checked(service, operation, parameters)

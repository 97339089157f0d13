"""What moto's Systems Manager has wrong: a value is a text, JSON or not; and what it lacks."""

import json

from moto.core.responses import ActionResult
from moto.ssm.models import Parameter
from moto.ssm.responses import SimpleSystemManagerResponse

RESPONSE = Parameter.response_object


def response_object(self, *args, **kwargs):
    answer = RESPONSE(self, *args, **kwargs)
    if isinstance(answer["Value"], dict):
        answer["Value"] = json.dumps(answer["Value"])
    return answer


def describe_parameters(self):
    """Those of a kind of data, by which moto does not filter."""
    filters = self._get_param("ParameterFilters") or []
    wanted = [value for one in filters if one["Key"] == "DataType" for value in one["Values"]]
    found = self.ssm_backend.describe_parameters(None, None)
    names = sorted(parameter.name for parameter in found if parameter.data_type in wanted)
    return ActionResult({"Parameters": [{"Name": name} for name in names]})


def install():
    Parameter.response_object = response_object
    SimpleSystemManagerResponse.describe_parameters = describe_parameters

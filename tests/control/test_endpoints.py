"""Create, read, update, delete and the lifecycle actions, through the real application."""
from tests.control.conftest import Api, create_body

async def test_create(api: Api) -> None:
    made = await api.create()
    assert made["status"]["state"] == "pending"
    assert await api.get() == {**made, "inlet":{**made["inlet"],"limits":None}}
    print(made)
    for path in ("/openapi.json","/api-doc/openapi.json","/","/healthz","/v2/provider"):
        assert await api.as_(None).ok("GET", path)

"""One request and its answer through the router: what passes, what does not, in both directions."""

from tests.router.world import request, route, world


async def test_a_request_is_forwarded_and_answered():
    async with world() as here:
        replica = await here.replica()
        await here.publish(route(replica.upstream()))
        answer = await here.ask(request("/default/mini/v1/x?q=1", body=b"hello"))
        assert (answer.status, answer.body) == (200, b"hello")
        assert replica.asked[0].target == "/v1/x?q=1"

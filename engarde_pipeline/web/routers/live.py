"""GET /session: whether the session is valid, which a page asks when its stream of live updates has ended."""

from fastapi import APIRouter, Response

from engarde_pipeline.web.page_route import PageRoute

router = APIRouter(route_class=PageRoute)


@router.get("/session", status_code=204)
async def session() -> Response:
    """Answer with 204; without a session, the route answers as every page does."""
    return Response(status_code=204, headers={"Cache-Control": "no-store"})

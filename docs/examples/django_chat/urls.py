"""The addresses of the pages. ``/ws/`` belongs to the gateway."""

from django.urls import path
from django.views.generic import TemplateView

urlpatterns = [
    path("chat/", TemplateView.as_view(template_name="chat/broadcast.html"), name="broadcast"),
]

"""The pages of the project."""

from chat import views
from django.urls import path

urlpatterns = [
    path("", views.rooms, name="rooms"),
    path("<slug:name>/", views.room, name="room"),
]

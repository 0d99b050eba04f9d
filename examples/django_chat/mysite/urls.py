"""The addresses of the pages. ``/ws/`` belongs to the gateway."""

from chat import views
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

urlpatterns = [
    path("", views.overview, name="overview"),
    path("chat/", views.broadcast, name="broadcast"),
    path("userchat/", views.userchat, name="userchat"),
    path("userchat/send/", views.send, name="send"),
    path("login/", LoginView.as_view(template_name="chat/login.html"), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
]

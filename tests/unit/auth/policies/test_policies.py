"""Tests of `wsredis.auth.policies`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.auth.policies import policies
from wsredis.auth.policies.function_policy import FunctionPolicy
from wsredis.auth.policies.origin import OriginPolicy
from wsredis.auth.policies.rules import RulePolicy
from wsredis.config import GatewayConfig
from wsredis.config.rules import Rule
from wsredis.errors import ConfigError


class PoliciesTests(SynchronousTestCase):
    """`policies`."""

    def test_default(self) -> None:
        """By default there is only the policy for origins."""
        self.assertEqual([OriginPolicy], [type(each) for each in policies(GatewayConfig())])
        may_get_some = GatewayConfig(file="/etc/wsredis.toml")
        self.assertEqual(
            [OriginPolicy, RulePolicy], [type(each) for each in policies(may_get_some)]
        )

    def test_all(self) -> None:
        """The order is origins, rules, function."""
        config = GatewayConfig(rules=(Rule(allow=True),), policy="builtins:max")
        self.assertEqual(
            [OriginPolicy, RulePolicy, FunctionPolicy], [type(each) for each in policies(config)]
        )

    def test_no_such_function(self) -> None:
        """A missing function is an error of the settings."""
        config = GatewayConfig(policy="nosuch_module:may")
        self.assertRaises(ConfigError, policies, config)

'use strict';

const { proxyActivities } = require('@temporalio/workflow');
const { describe } = require('./text');

const { add } = proxyActivities({ startToCloseTimeout: '10s' });

exports.sum = async function sum(numbers) {
  return describe(numbers.length, await add(numbers));
};

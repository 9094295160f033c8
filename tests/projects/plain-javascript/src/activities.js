'use strict';

async function add(numbers) {
  return numbers.reduce((sum, number) => sum + number, 0);
}

module.exports = { add };

/** Auto-generated activities. Do not edit. */
export async function validateOrder(input: any): Promise<any> {
  console.log('validateOrder', input);
  return 'validated';
}

export async function chargeOrder(input: any): Promise<any> {
  console.log('chargeOrder', input);
  return `charged ${input.amount}`;
}
